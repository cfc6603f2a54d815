"""Renders the report as one HTML file that needs no network and no other file. Its content comes as a Page."""

import base64
import hashlib
from pathlib import Path

import jinja2
import numpy as np

from pipeline.common.image_encoding import encode_image
from pipeline.report.figures import Page

TEMPLATES = Path(__file__).parent
EMBEDDED_QUALITY = 85
"""JPEG quality, 0 to 100, of the images in the page."""


def render(page: Page) -> str:
    """Return the HTML. All texts are escaped, and the browser runs no script but the page's own."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, style = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.jinja").render(page=page, script=script, style=style, digest=digest)


def jpeg_uri(image: np.ndarray) -> str:
    """Return an RGB image, uint8 (H, W, 3), as the data URI of a JPEG."""
    return "data:image/jpeg;base64," + base64.b64encode(encode_image(image, ".jpg", EMBEDDED_QUALITY)).decode()
