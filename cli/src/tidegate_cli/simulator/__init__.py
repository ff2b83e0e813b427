"""A simulated solving service: the vendors' wire formats in front of one pure state.

Reading order: ``kinds`` and ``vendors`` (tables), ``tasks``, ``tokens``, ``charges`` (state),
``service`` (the rules), ``createtask`` and ``inphp`` (the two wire families), ``desk`` (routing),
``server`` (the socket).
"""
