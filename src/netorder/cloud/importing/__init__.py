"""A topology of what a project has in the cloud; changes nothing there.

``make`` is the way in, with what ``ask`` has listed. ``names`` chooses and names what is written, ``subnets`` says
which of a network's are networks of the file, ``convert`` writes it as lines, ``rules`` makes `allow` and `egress` of
security groups, ``lines`` are YAML in which a line may be left out with the reason, ``differ`` compares the result with
the cloud.
"""
