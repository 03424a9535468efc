"""Video files, cameras and streams: decoding and frames in order of time."""
