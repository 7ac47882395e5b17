#pragma once
/*
 * The terminal this program runs in. There is one, so its saved state is the process's: restored
 * when the program ends in any way it can notice (exit, a fatal signal), at the latest.
 */
#include <stdbool.h>

#include "base/error.h"

/* Each typed byte goes through as it is, nothing is echoed. FD is borrowed until
 * terminal_restore(). */
int terminal_raw(int fd, struct error *err);
void terminal_restore(void);
/* After the program was stopped and continued: raw again, if it was. */
void terminal_raw_again(void);
/* False when FD is no terminal, or does not know its size. */
bool terminal_size(int fd, unsigned *ret_rows, unsigned *ret_columns);
