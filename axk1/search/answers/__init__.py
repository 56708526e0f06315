"""A question -> an answer whose every sentence cites a passage, and whose citations are checked; or a refusal.

words        text -> morphemes, content words, sentences (Korean and English)
quantities   text -> numbers, dates and units in one form, whatever they are written in (``numerals``)
polarity     text -> which words are denied, and opposites
question     a question -> its language, and what kind of answer it wants
evidence     a question, passages -> sentences that may answer it, each with a calibrated score
extract      the answer that needs no model: such sentences, word for word
fusion       several rankings -> one
rewrite      a conversation -> queries
write        a question, passages -> sentences with citations, by a model
alignment    a sentence, its evidence -> where one puts something else in the place of what the other says
checks       a sentence, what it cites -> what was checked, and how it came out
answer       what an answer is
answerer     all of it, step by step
"""
