"""The generated dataset: street scenes drawn by rule."""
