"""Transfers of files: one upload and one download for all front ends, and the streams of QUIC that ask for them."""
