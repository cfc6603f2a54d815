"""Procedurally drawn people: poses, bodies, a camera, painting, scenes, three annotation formats. Writes no files."""
