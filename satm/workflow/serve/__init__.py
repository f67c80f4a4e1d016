"""The registry in a browser: datasette, read-only, with the images of the sets."""

from __future__ import annotations

from satm.workflow.serve.server import serve as serve
