"""The report page: reads the rows of a registry and says what each part of the page shows. Nothing is trained."""
