"""SALI: video polyp segmentation, trained from configs and run on live video.

Research software. It is not a medical device and must not guide the care of a patient.
"""

__version__ = "0.1.0"
