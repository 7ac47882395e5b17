#pragma once
/* Copies a tree: how a new volume begins with the image's content. */
#include "base/error.h"

/* Copies what FROM_FD holds into TO_FD (directories, readable), with owners, modes, times and
 * extended attributes, the top directory's own included. Never follows links. */
int copy_up(int from_fd, int to_fd, struct error *err);
