# SPDX-License-Identifier: GPL-2.0
# Builds the manual by itself, with the kernel's own extensions. In a kernel tree,
# the kernel's Documentation/conf.py takes the place of this file.

import os
import sys

sys.path.insert(0, os.path.join(os.environ["srctree"], "Documentation/sphinx"))

project = "rust_bpf_memcontrol"
extensions = ["automarkup", "kerneldoc"]
highlight_language = "none"
c_id_attributes = ["__bpf_kfunc"]

html_theme = "alabaster"
html_theme_options = {"page_width": "65em", "sidebar_width": "15em", "fixed_sidebar": "true"}
html_show_copyright = False
html_copy_source = False
