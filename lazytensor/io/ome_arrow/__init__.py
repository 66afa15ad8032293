"""OME-Arrow: images in rows of tables, read by boxes and written.

Five layouts are in use (``fields``): lists of numbers and chunks of bytes in a struct, in Parquet,
Arrow IPC and memory; and folders with a table of images and one of chunks (``dataset``). All become
the same: a catalogue of the pieces that an image consists of (``model``), found without looking at
a pixel, and what holds their pixels (``units``), of which whatever can be read alone is read alone.
"""
