"""A text -> what in it is personal, unsafe, or an instruction in disguise; Korean and English."""
