"""Any ``LanguageModel`` -> scores with error bars, a comparison of models, a report page."""
