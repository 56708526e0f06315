"""Presidio's side of benchmarks/guard.py: a JSON list of texts on standard input -> its findings and its time as JSON.

Runs in an environment of its own: ``pip install presidio-analyzer``. A blank spaCy pipeline stands in for the trained
ones, which are no packages of the index: recognisers of patterns work fully, those of names and places not at all.
"""

import importlib.metadata
import json
import logging
import sys
import time

import spacy
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine

LANGUAGES = ("ko", "en")


class Blank(SpacyNlpEngine):
    """A pipeline that only splits words."""

    def __init__(self) -> None:
        super().__init__(ner_model_configuration=NerModelConfiguration())
        self.nlp = {language: spacy.blank("en" if language == "en" else "xx") for language in LANGUAGES}


def main() -> None:
    """Reads, finds in both languages, and prints."""
    logging.disable(logging.CRITICAL)
    texts = json.load(sys.stdin)
    registry = RecognizerRegistry(supported_languages=list(LANGUAGES))
    registry.load_predefined_recognizers(languages=list(LANGUAGES))
    korean = {
        "KrRrnRecognizer",
        "KrFrnRecognizer",
        "KrBrnRecognizer",
        "KrPassportRecognizer",
        "KrDriverLicenseRecognizer",
    }
    known = {type(one).__name__ for one in registry.recognizers}
    from presidio_analyzer import predefined_recognizers as predefined  # what a default registry leaves out

    for name in sorted(korean - known):
        if hasattr(predefined, name):
            registry.add_recognizer(getattr(predefined, name)(supported_language="ko"))
    engine = AnalyzerEngine(registry=registry, nlp_engine=Blank(), supported_languages=list(LANGUAGES))
    begun = time.process_time()
    found = []
    for text in texts:
        results = [one for language in LANGUAGES for one in engine.analyze(text, language, score_threshold=0.4)]
        found.append(sorted({(one.entity_type, one.start, one.end) for one in results}))
    seconds = time.process_time() - begun
    json.dump(
        {"found": found, "seconds": seconds, "version": importlib.metadata.version("presidio-analyzer")}, sys.stdout
    )


if __name__ == "__main__":
    main()
