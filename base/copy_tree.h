#pragma once
/* Copies a tree: how a new volume begins with the image's content. Blocks. */
#include "base/error.h"

/* Copies what FROM_FD holds into TO_FD (directories, readable), with owners, modes, times and
 * extended attributes, the top directory's own included. Never follows links. */
int copy_tree(int from_fd, int to_fd, struct error *err);
