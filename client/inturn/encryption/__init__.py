"""Encryption of what leaves a process: payloads for Temporal, texts for the journal, under one ring of keys."""

from inturn.encryption.converter import data_converter
from inturn.encryption.keys import Key, KeyRing, parse_keys, read_keys

__all__ = ["Key", "KeyRing", "data_converter", "parse_keys", "read_keys"]
