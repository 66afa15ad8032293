"""Byte stores, codecs, and one driver for each file format.

Nothing here knows of plans or engines beyond the ``Source`` protocol, and nothing is imported
until a source of the format is opened.
"""
