"""Spawner in containers: what compose.yaml uses beside deploy/Dockerfile.

`images` makes every image where no image registry answers, `plugin` gets Docker Compose itself. The other files are
mounted into containers or merged into compose.yaml.
"""
