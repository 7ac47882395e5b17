#pragma once
/*
 * What a driver says about the container beside its output: the labels and variables that
 * `labels`, `labels-regex`, `env` and `env-regex` name, and the `tag`, a template
 * (base/template.h) about the container. Private to hyperd/logdriver.
 */
#include "hyperd/logdriver/logdriver.h"

/* Checks the patterns and the tag's syntax. */
int log_attributes_check(const struct log_option *options, struct error *err);
/* The chosen labels and variables, and WITH_TAG a tag that was asked for; each key once, sorted as
 * Go prints maps; key NULL ends. Freed with log_attributes_free(). */
int log_attributes(const struct log_config *config, bool with_tag, struct log_option **ret,
		   struct error *err);
void log_attributes_free(struct log_option *attributes);
/* The tag, or where there is none TEMPLATE filled in. Owned by the caller. */
int log_tag(const struct log_config *config, const char *template, char **ret, struct error *err);
