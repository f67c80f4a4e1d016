"""Shows the registry in a browser, with the images of the sets. It uses datasette, which only reads the registry."""

from __future__ import annotations

from satm.workflow.serve.server import serve as serve
