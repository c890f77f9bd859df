"""Ways to clean the image cache, one per example.

    python examples/clean_cache_example.py --example manual       by hand, with a dry run first / 手动清理
    python examples/clean_cache_example.py --example auto         by a stamp, at most once a day / 自动清理
    python examples/clean_cache_example.py --example standalone   the short functions / 独立工具
    python examples/clean_cache_example.py --example generate     while generating an image / 生成时清理

``generate`` needs a ComfyUI server; the others only the settings in ``.env``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# So that the example runs from a plain checkout, wherever it is started.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cleaner import CacheCleaner, clean_cache, show_cache_info
from config import prefers_chinese
from core.error_words import error_text
from core.errors import CacheKeeperError


def manual() -> None:
    """Look, try, then delete."""
    cleaner = CacheCleaner()
    print("cache / 缓存:", cleaner.get_cache_info(days_threshold=1))
    print("would delete / 将删除:", cleaner.clean_old_cache(days_threshold=1, dry_run=True))
    print("deleted / 已删除:", cleaner.clean_old_cache(days_threshold=1, dry_run=False))


def auto() -> None:
    """Clean only if the last unattended cleaning is a day ago, across restarts."""
    result = CacheCleaner().auto_clean_cache(days_threshold=1, check_interval_hours=24)
    print("not due yet / 尚未到期" if result is None else f"deleted / 已删除: {result}")


def standalone() -> None:
    """The two functions that need no object."""
    show_cache_info(days=1)
    print("deleted / 已删除:", clean_cache(days=1, dry_run=False))


def generate() -> None:
    """Generate an image; expired ones are cleaned first, and a failing clean never stops the generation."""
    from client.comfyui_client import ComfyUIClient

    client = ComfyUIClient()
    prompt_id = client.generate_image(prompt="a beautiful landscape", width=512, height=512)
    print("submitted / 已提交:", prompt_id)


EXAMPLES = {"manual": manual, "auto": auto, "standalone": standalone, "generate": generate}


def main() -> int:
    """Return 0, or 1 with one line of explanation."""
    parser = argparse.ArgumentParser(description="Ways to clean the image cache. 清理图片缓存的几种方式。")
    parser.add_argument("--example", choices=EXAMPLES, default="manual", help="which one / 运行哪个示例")
    try:
        EXAMPLES[parser.parse_args().example]()
    except CacheKeeperError as error:
        print(error_text(error, chinese=prefers_chinese()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
