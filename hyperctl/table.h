#pragma once
/*
 * Aligned columns as Docker prints them: cells apart by tabs, three spaces between columns, the
 * last one ragged. What stands in cells comes from strangers, so control characters are shown as
 * '?'.
 */
#include <stdio.h>

#include "base/str.h"

/* TEXT: lines ended by '\n', cells parted by '\t'. The aligned lines are appended to OUT. */
void table_align(const char *text, size_t len, struct str *out);
/* Appends TEXT, control characters replaced: for terminals. */
void text_add_safe(struct str *out, const char *text);
