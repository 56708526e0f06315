"""Documents -> a hybrid index -> answers whose citations are checked."""
