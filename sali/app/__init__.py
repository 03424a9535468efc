"""The web app: a page on this machine in which a person watches the segmenter work.

Gradio brings the queue, the state of a page, streaming and deletion (`page`). A `Play` drives the
loop of `sali.prediction`, with writers of its own, in a thread that can be paused and cancelled; a
`Session` is what one page owns; `view` draws.
"""
