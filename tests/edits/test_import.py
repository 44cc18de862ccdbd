import subprocess
import sys


def test_edits_alone_brings_in_no_maker_of_edits():
    program = (
        "import sys, edits; "
        "sys.exit(' '.join({'torchvision', 'lpips', 'rewrite', 'safetensors'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
