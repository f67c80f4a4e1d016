"""Small data, and experts trained on it, for the methods that blend experts."""

from __future__ import annotations

import pytest

from tests.helpers import experts, image_data


@pytest.fixture
def data():
    return image_data()


@pytest.fixture
def trained(data):
    return experts(data, epochs=2)
