#pragma once
/* Private to hyperd/volume: how the child that fills a volume is called. */
extern const char fill_child_name[];
/* Its descriptors: the volume's directory, and from there on the layers, lowest first. */
#define FILL_TARGET_FD 3
#define FILL_LAYER_FD  4
