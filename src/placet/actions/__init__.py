"""The action definitions that placet ships: data only, copied into a trust root by `placet trust init`.

Published definitions never change; a change is a new version beside the old one (spec/03-statement.md).
"""
