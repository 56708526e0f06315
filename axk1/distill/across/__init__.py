"""Teaching a student of another tokenizer: what the teacher says of the same text, wherever both cut it alike."""
