#!/bin/sh
# café
