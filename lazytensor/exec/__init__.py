"""Execution: from an optimised plan to values.

``lower`` turns a plan and an output box into a flat program, ``workgrid`` cuts the output into such
boxes, ``local`` runs them in threads, ``interpret`` computes whole arrays with NumPy and is what
every other engine is checked against.
"""
