"""augmenter"""
