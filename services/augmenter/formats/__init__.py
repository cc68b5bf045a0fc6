"""Files from outside -> documents and rows, read in a process of their own.

bounds      what a file may take, and why one is refused
endings     which file is read by what
text        plain text and markdown: which encoding
html        markup -> text with markdown headings
pdf         pages -> paragraphs and headings
docx        Word files, by way of html
tables      csv and parquet -> rows
archives    zip, tar, and what is merely compressed -> files
child       the process that parses: nothing that a file does to it reaches the service
parser      the other end: starts it, asks it, ends it when it is over its time
"""
