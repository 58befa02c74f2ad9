"""The rules of billing, pure: no clock, no files, no SQL, no Airflow. Rule numbers are those of
``docs/billing-rules.md``.
"""
