"""A.X K1, open: from documents to a mixture-of-experts teacher to a student that fits one device."""
