"""A web page on this machine in which a person watches the segmenter work.

``Session`` is what one open page owns: its folder, its upload, its ``Job``. A job decodes, waits
for the network and keeps what it found; nothing is drawn until a page asks for it. The page
(``page``, ``live.js``) and the routes that it asks (``routes``) are a thin shell round them.
"""
