"""What the tests of all readers check an error for."""

import pytest

from pipeline.common.errors import UserError


@pytest.fixture
def refused_words(write_json):
    """Returns those of some words that the error has, after a value was put into a document at keys, which a reader then refuses."""

    def words_of(read, document, change, words):
        *path, key, value = change
        parent = document
        for step in path:
            parent = parent[step]
        parent[key] = value
        file = write_json(document)
        with pytest.raises(UserError) as error:
            read(file)
        text = str(error.value)
        assert "\n" not in text and all(word in text for word in (str(file), "expected", "found"))
        return [word for word in words if word in text]

    return words_of
