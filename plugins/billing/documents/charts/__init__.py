"""Charts by Altair, drawn as SVG by vl-convert: for the pages and for the customer's statement.

``colours``  what they are drawn with: fixed, or named by CSS variables for light and dark.
``fonts``    the bundle's fonts, made known to vl-convert.
``usage``    usage by UTC day, a row an API, stacked by app.
"""
