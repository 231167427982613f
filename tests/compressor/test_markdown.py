"""Text of others stays text in Markdown."""

from compressor.markdown import markdown_block, markdown_code, markdown_table, markdown_text


def test_markdown_shows_text_as_it_is() -> None:
    assert markdown_text("a|b `c`\n<script>*_[x]&") == r"a\|b \`c\` \<script\>\*\_\[x\]\&"
    assert markdown_table(["a|b"], [["<b>\nx"]]) == "| a\\|b |\n| :-- |\n| \\<b\\> x |"
    assert markdown_code("plain") == "`plain`"
    assert markdown_code("a `b``c`\nd") == "```a `b``c` d```"
    assert markdown_code("`") == "`` ` ``"
    assert markdown_block("echo '```'", "bash") == "````bash\necho '```'\n````"
