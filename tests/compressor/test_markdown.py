"""Text of others stays text in Markdown."""

from pathlib import Path

from compressor.markdown import (
    Markdown,
    markdown_block,
    markdown_code,
    markdown_table,
    markdown_text,
    render_markdown,
)


def test_markdown_shows_text_as_it_is() -> None:
    assert markdown_text("a|b `c`\n<script>*_[x]&") == r"a\|b \`c\` \<script\>\*\_\[x\]\&"
    assert markdown_table(["a|b"], [["<b>\nx"]]) == "| a\\|b |\n| :-- |\n| \\<b\\> x |"
    assert markdown_code("plain") == "`plain`"
    assert markdown_code("a `b``c`\nd") == "```a `b``c` d```"
    assert markdown_code("`") == "`` ` ``"
    assert markdown_block("echo '```'", "bash") == "````bash\necho '```'\n````"


def test_a_template_takes_values_for_plain_text(tmp_path: Path) -> None:
    template = tmp_path / "t.md"
    template.write_text(
        '# {{ evil }}\n{{ evil|code }} {{ ours }}\n{{ evil|block("bash") }}\n{{ [evil]|table([[evil]]) }}\n'
    )
    assert render_markdown(template, evil="<b>|*", ours=Markdown("*x*")) == (
        "# \\<b\\>\\|\\*\n`<b>|*` *x*\n```bash\n<b>|*\n```\n| \\<b\\>\\|\\* |\n| :-- |\n| \\<b\\>\\|\\* |\n"
    )
