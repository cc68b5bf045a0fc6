"""Probes written by a model about documents, and checked: GenerateProbes.

spec       ProbeSpec -> a complete value
sources    documents as sentences and words; what tells of what
prompts    the prompts in ../prompts/<style>/, by kind
cloze      a statement -> its last phrase asked for, with hard wrong choices
question   JSON -> a question with right and wrong answers
checking   drafts -> kept, or the reason why not
generate   the operation: wave by wave, then the upload
drafts     what is written before it is checked
"""
