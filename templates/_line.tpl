% # One line of a field of lines. Wants: line, field.
    <div class="line" role="group" data-line="{{t("lines.line", n="{n}")}}" aria-label="{{t("lines.line", n=line.number)}}">
      <input type="hidden" name="_lines" value="{{field.name}}.{{line.key}}">
% for cell in line.cells:
%   include('_field.tpl', field=cell)
% end
      <button class="button" name="_again" value="remove:{{field.name}}.{{line.key}}" formaction="{{page.action}}#{{field.id}}" formnovalidate data-remove="{{t("lines.remove_line", n="{n}")}}" aria-label="{{t("lines.remove_line", n=line.number)}}">{{t("lines.remove")}}</button>
    </div>
