"""The report as one HTML file that needs nothing else: no network, no other file. What it says comes in as a Page."""

import base64
import hashlib
from pathlib import Path

import cv2
import jinja2
import numpy as np

from pipeline.report.figures import Page

TEMPLATES = Path(__file__).parent
QUALITY = 85
"""Of the JPEGs."""


def render(page: Page) -> str:
    """The HTML. Every text is escaped, whatever file it comes from; the page's own script is the only one that a browser runs."""
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


def jpeg_uri(picture: np.ndarray) -> str:
    """An RGB picture as a data URI."""
    done, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
