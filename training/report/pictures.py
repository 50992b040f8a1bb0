"""Put pictures into a page."""

import base64
import html
import io

from PIL import Image
from torch import Tensor

LARGEST = 96  # pixels a side of an embedded picture
MOST_FILTERS = 256
ONE_OR_THREE = {1: "L", 3: "RGB"}


def draw_filters(filters: Tensor | None) -> list[str]:
    """Draw float32 K×C×F×F as K `<img>`s (256 at most), each scaled to its own least and largest weight.

    Gives none where filters are not of 1 or 3 channels: such have no colours.
    """
    if filters is None or filters.shape[1] not in ONE_OR_THREE:
        return []
    filters = filters[:MOST_FILTERS]
    least, largest = filters.amin((1, 2, 3), keepdim=True), filters.amax((1, 2, 3), keepdim=True)
    scaled = (filters - least) / (largest - least).clamp(min=1e-12) * 255
    return [draw_picture(each, "") for each in scaled.round().byte()]


def draw_picture(picture: Tensor, alt: str) -> str:
    """Give uint8 C×H×W, 0..255, C of 1 or 3, as an `<img>` that holds it, made smaller than 96 pixels."""
    pixels = picture.permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(pixels[..., 0] if len(picture) == 1 else pixels, ONE_OR_THREE[len(picture)])
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    small = ' class="small"' if image.width <= LARGEST // 2 else ""
    return f'<img{small} alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'
