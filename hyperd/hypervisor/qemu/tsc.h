#pragma once
/*
 * The frequency of the host's time stamp counter, which guests under TCG see and cannot measure. It
 * stands on their kernel's command line and so in the key of every template: a figure that wavers
 * would throw templates away. So it is measured once and kept, and measured anew only to see that
 * it still holds.
 */
#include "base/error.h"

/* Task: takes a tenth of a second. STATE_DIR is where the figure is kept. */
int tsc_measure(const char *state_dir, unsigned *ret_khz, struct error *err);
