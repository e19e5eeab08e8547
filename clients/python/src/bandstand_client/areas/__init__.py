"""The calls that are not made all day, by what they are about; ``aio_areas`` holds the same for event loops."""
