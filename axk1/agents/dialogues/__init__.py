"""Dialogues of an agent at work: generated tasks, an expert who does them, a grader, and a simulated person."""
