"""The generated dataset: street scenes drawn by a program."""
