"""Measurements of how bars look: contrast of texts, sizes, styles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.async_api import Page

_LIBRARY = r"""
const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
};
const over = ([r, g, b, a], below) => {
    const mixed = [r, g, b].map((value, i) => value * a + below[i] * (1 - a));
    return [...mixed, 1];
};
const backdrop = (element) => {
    const layers = [];
    for (let it = element; it; it = it.parentElement)
        layers.push(rgba(getComputedStyle(it).backgroundColor));
    // The canvas behind a page follows its color-scheme.
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = "Canvas";
    layers.push(rgba(getComputedStyle(probe).color));
    probe.remove();
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
};
const luminance = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((value) => {
        const s = value / 255;
        return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratio = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
};
const contrast = (element, colour) => {
    const behind = backdrop(element);
    return ratio(over(rgba(colour), behind), behind);
};
"""

_CONTRASTS = (
    """() => {"""
    + _LIBRARY
    + r"""
    const found = [];
    for (const bar of document.querySelectorAll("import-progress")) {
        const elements = [...bar.querySelectorAll("[class], bdi")].filter((element) =>
            element.checkVisibility() && !element.matches("[data-show=news]") &&
            [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
        for (const element of elements) {
            const style = getComputedStyle(element);
            const what = `${bar.dataset.status} ${bar.dataset.notice ?? ""} ${element.className}`;
            found.push([what, contrast(element, style.color), element.textContent]);
        }
    }
    return found;
}"""
)

_FILLS = (
    """() => {"""
    + _LIBRARY
    + r"""
    return Object.fromEntries([...document.querySelectorAll("import-progress")].map((bar) => {
        const { color } = getComputedStyle(bar.querySelector("progress"));
        return [bar.dataset.status, contrast(bar, color)];
    }));
}"""
)

STYLES = """
    display position appearance float boxShadow opacity textTransform letterSpacing whiteSpace
    marginTop marginRight marginBottom marginLeft paddingTop paddingRight paddingBottom paddingLeft
    borderTopWidth borderLeftWidth borderTopStyle borderTopLeftRadius borderBottomRightRadius
    textAlign textDecorationLine
"""
"""Properties that make up a part's form, and do not depend on the page's font and colours."""

_STYLES = r"""names => [...document.querySelectorAll("import-progress, import-progress *")]
    .filter((element) => !element.matches("script"))
    .map((element) => {
        const style = getComputedStyle(element);
        const em = parseFloat(style.fontSize);
        const relative = (_, pixels) => `${(pixels / em).toFixed(1)}em`;
        const normal = (name) => {
            const value = style[name];
            if (/Radius/.test(name)) return parseFloat(value) > 0 ? "round" : "square";
            if (/^(margin|padding)/.test(name)) return value.replace(/(-?[\d.]+)px/, relative);
            return value.replace("relative", "static");
        };
        // The distance to what is around it is the page's.
        const own = names.filter((name) => !element.matches("[data-job]") || !/margin/.test(name));
        const values = Object.fromEntries(own.map((name) => [name, normal(name)]));
        return [element.className || element.localName, values];
    })"""


async def contrasts(page: Page) -> dict[str, float]:
    """Return the contrast of each visible text of the bars, rounded down to two digits."""
    found = await page.evaluate(_CONTRASTS)
    assert found, "no texts"
    return {what: int(value * 100) / 100 for what, value, _ in found}


async def fills(page: Page) -> dict[str, float]:
    """Return the contrast of each bar's fill, by status."""
    found: dict[str, float] = await page.evaluate(_FILLS)
    return found


async def styles(page: Page) -> list[Any]:
    """Return what makes up the form of each part of the bars; lengths relative to its font."""
    found: list[Any] = await page.evaluate(_STYLES, STYLES.split())
    return found


async def photograph(page: Page, file: Path) -> None:
    """Draw the page as narrow as a telephone and as wide as a desk's screen."""
    for width in (320, 1280):
        await page.set_viewport_size({"width": width, "height": 700})
        await page.screenshot(path=file.with_name(f"{file.name}-{width}.png"), full_page=True)
