"""A ClickHouse server for one machine: ClickHouse's HTTP interface in front of the embedded engine, chdb.

``python -m tidegate_cli.clickhouse --data DIR --port N`` serves clickhouse-connect (both clients) and
curl. The reading path: ``statement`` and ``request`` say what was asked, ``intake`` takes the body in,
``engine`` runs it, ``server`` answers.

What a client may rely on
    * SQL in the ``query`` parameter, in the body, or split over both; an insert's data after its FORMAT or
      VALUES, in any input format; request bodies compressed by lz4, zstd, gzip, deflate or br, in any number
      of concatenated frames; answers compressed when ``enable_http_compression=1`` asks for it.
    * Server-side parameters (``param_x``), settings, ``database``, ``query_id``, ``default_format``,
      ``readonly`` for GET, multipart forms of text fields.
    * ClickHouse's error texts, codes and statuses. A result is complete before the first byte is
      sent, so that an error never hides in the middle of an answer (``wait_end_of_query`` always).
    * An acknowledged insert outlives the death of this process (not a power cut: nothing is fsynced).

Settings and parameters
    ==================================================  ==================================================
    any setting of ``system.settings``                  set on the request's own engine handle; gone with it
    ``insert_deduplication_token``, ``insert_…``,
    ``deduplicate_…``, ``max_…``, ``format_…`` …        work: they are the engine's own
    ``async_insert``, ``wait_for_async_insert``         dropped: every insert is synchronous, the answer
                                                        comes when the rows are stored
    ``wait_end_of_query``, ``buffer_size``              dropped: always waited for
    ``enable_http_compression``                         decides whether the answer is compressed
    ``http_zlib_compression_level``, ``send_progress_…``,
    ``http_headers_progress_…``, ``cancel_http_…``      dropped: nothing to do on one machine
    ``session_id``, ``session_timeout``,
    ``session_check``                                   dropped: each request is its own session; USE, SET
                                                        and temporary tables end with it
    ``role``, ``quota_key``,
    ``client_protocol_version``                         dropped
    ``compress=1``, ``decompress=1``                    refused (48): the native block compression of
                                                        ClickHouse; use Content-Encoding
    ==================================================  ==================================================

What differs from a server, knowingly
    One statement runs at a time. External tables, INTO OUTFILE, FROM INFILE and SYSTEM SHUTDOWN are
    refused. There are no replicated engines, no users but one, no ``system.query_log``. The engine's own
    table functions (``file``, ``url`` …) can do what this process can do: listen on loopback only.
"""
