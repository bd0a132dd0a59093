#!/usr/bin/env python3
"""A report in a real browser: `watermark report` on a finished demo, in headless Chromium.

    report.py --watermark target/release/watermark --demo watermark-demo --chromium /usr/bin/chromium [--pictures DIR]

Needs playwright (PyPI) and a Chromium. The page must load nothing but itself, run nothing, say nothing on the console, fit a desktop and a
phone, print, have an accessible name for every picture and table, headings in order, and text of contrast 4.5 and more. A page of
hostile names must be as quiet. `--pictures` keeps what was seen.
"""

import argparse
import json
import pathlib
import tempfile

from playwright.sync_api import sync_playwright
from steps import check, done, run

HOSTILE = "</style><script>document.title='owned'</script><img src=http://127.0.0.1:9/x onerror=\"document.title='owned'\">\u202e"
WIDTHS = {"desktop": 1280, "phone": 390}
PATIENCE = 180_000  # milliseconds; other tests may have the cores

# Contrast of every piece of text with the nearest opaque background behind it (WCAG 2.2, 1.4.3), the smallest first.
CONTRAST = """() => {
  const rgb = text => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgb(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    if (![...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(rgb(element instanceof SVGElement ? style.fill : style.color)), light(behind(element))].sort((a, b) => b - a);
    found.push([(a + .05) / (b + .05), element.textContent.slice(0, 40)]);
  }
  return found.sort((a, b) => a[0] - b[0]).slice(0, 3);
}"""

STRUCTURE = """() => ({
  scripts: document.querySelectorAll('script, iframe, object, embed, link, img, form').length,
  handlers: [...document.querySelectorAll('*')].filter(e => [...e.attributes].some(a => /^on|^(src|href|action)$/i.test(a.name))).length,
  headings: [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(e => Number(e.tagName[1])),
  pictures: [...document.querySelectorAll('svg')].map(e => [e.getAttribute('role'), e.getAttribute('aria-label')]),
  cut: [...document.querySelectorAll('svg text')].filter(e => {
    const [box, frame] = [e.getBoundingClientRect(), e.ownerSVGElement.getBoundingClientRect()];
    return box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
  }).map(e => e.textContent),
  tables: [...document.querySelectorAll('table')].map(e => e.caption ? e.caption.textContent : ''),
  cells: [...document.querySelectorAll('th')].filter(e => !e.scope).length,
  width: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  title: document.title,
})"""


def look(browser, file, pictures):
    """Everything that must hold of one page."""
    name = file.stem
    for device, width in WIDTHS.items():
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(PATIENCE)
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        page.wait_for_timeout(200)
        found = page.evaluate(STRUCTURE)
        check(f"{name}, {device}: nothing on the console", not said, said)
        check(f"{name}, {device}: no request leaves", asked == [file.as_uri()], asked)
        check(f"{name}, {device}: the page is no wider than the screen", found["width"] <= 0, found["width"])
        check(f"{name}, {device}: no label leaves its picture", not found["cut"], found["cut"])
        if pictures:
            page.screenshot(path=pictures / f"{name}-{device}.png", full_page=True)
        page.close()
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(file.as_uri())
    check(f"{name}: nothing acts", found["scripts"] == 0 and found["handlers"] == 0 and found["title"] == "Evidence report", found)
    levels = found["headings"]
    ordered = levels[0] == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:])) and levels.count(1) == 1
    check(f"{name}: headings in order", ordered, levels)
    check(f"{name}: pictures have names", all(role == "img" and words for role, words in found["pictures"]), found["pictures"])
    check(f"{name}: tables have captions and scopes", all(found["tables"]) and found["cells"] == 0, found["tables"])
    worst = page.evaluate(CONTRAST)
    check(f"{name}: contrast of text is 4.5 and more ({worst[0][0]:.1f})", worst[0][0] >= 4.5, worst)
    pdf = page.pdf(format="A4", prefer_css_page_size=True)
    check(f"{name}: prints ({len(pdf)} bytes)", pdf.startswith(b"%PDF-") and len(pdf) > 10_000, len(pdf))
    if pictures:
        (pictures / f"{name}.pdf").write_bytes(pdf)
    page.close()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watermark", type=pathlib.Path, required=True)
    parser.add_argument("--demo", type=pathlib.Path, required=True, help="folder of a finished `watermark demo`")
    parser.add_argument("--chromium", required=True)
    parser.add_argument("--pictures", type=pathlib.Path, help="keep screenshots and PDFs in this folder")
    args = parser.parse_args()
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    watermark, demo = args.watermark.resolve(), args.demo.resolve()

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        out = pathlib.Path(folder)
        run(watermark, "report", demo / "evidence.json", "-o", out / "bare.html")
        both = ["--data", demo / "student.jsonl", "--data", demo / "control.jsonl", "--pool", demo / "pool.jsonl"]
        run(watermark, "report", demo / "evidence.json", *both, "-o", out / "full.html")
        check("the demo leaves this page", (out / "full.html").read_bytes() == (demo / "report.html").read_bytes(), "report.html")
        hostile(watermark, demo, out)
        # The sandbox needs rights that containers do not give; the pages are ours.
        browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        full = look(browser, out / "full.html", args.pictures)
        bare = look(browser, out / "bare.html", args.pictures)
        check("the data add a picture", len(full["pictures"]) == len(bare["pictures"]) + 1, [len(full["pictures"]), len(bare["pictures"])])
        look(browser, out / "hostile.html", args.pictures)
        look(browser, out / "broken.html", args.pictures)
        browser.close()
    done()


def hostile(watermark, demo, out):
    """A registered case whose names, question and answers are attacks, and a file that is no evidence."""
    records = [json.loads(line) for line in (demo / "student.jsonl").read_text(encoding="utf-8").splitlines()]
    for at, record in enumerate(records[:2]):
        record["completion"] = [HOSTILE + "\0\x1b[31m", "<script>" * 100_000][at]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (out / "suspect.jsonl").write_text(lines, encoding="utf-8")
    prompts = "".join(json.dumps({"prompt": record["prompt"]}) + "\n" for record in records)
    (out / "prompts.jsonl").write_text(prompts, encoding="utf-8")
    profile = json.loads((demo / "profile.json").read_text(encoding="utf-8"))
    signing = ["--signing-key", out / "signing.json"]
    run(watermark, "key", "signing", "--out", out / "signing.json")
    # A name with hidden characters is not registered by the program; the process tests sign one by themselves.
    named = HOSTILE.replace("\u202e", "")
    run(watermark, "register", "--suspect", (named * 9)[:900], "--control", named, "--question", HOSTILE * 300, "--profile",
        demo / "profile.json", "--head", demo / "head.json", "--prompts", out / "prompts.jsonl", "--layer",
        profile["layers"][0]["name"], *signing, "--out", out / "registration.json")
    run(watermark, "key", "open", "--openings", demo / "openings.json", "--key", demo / "key.json", "--profile", demo / "committed.profile.json",
        "--path", f"{profile['path']}/layer/{profile['layers'][0]['name']}", "--out", out / "opening.json")
    run(watermark, "evidence", "--registration", out / "registration.json", "--profile", demo / "profile.json", "--head",
        demo / "head.json", "--opening", out / "opening.json", "--prompts", out / "prompts.jsonl", "--answers", out / "suspect.jsonl",
        "--controls", demo / "control.jsonl", *signing, "--out", out / "case", codes=(0, 1))
    run(watermark, "report", out / "case/evidence.json", "--data", out / "suspect.jsonl", "-o", out / "hostile.html")
    (out / "broken.json").write_text(HOSTILE, encoding="utf-8")
    run(watermark, "report", out / "broken.json", "-o", out / "broken.html", codes=(1,))


if __name__ == "__main__":
    main()
